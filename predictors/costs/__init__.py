"""MACs, parameters, bytes and memory: exact, for one network and by table for populations."""
