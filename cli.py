"""The entry point of the command line, which lies in ``nas.cli``."""

from nas.cli.main import main as main

if __name__ == "__main__":
    main()
