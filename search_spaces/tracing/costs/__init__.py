"""What networks of a traced model cost: amounts as expressions of genes, and operators by parts."""
