"""`python -m edgeharfer`: the command line."""

from edgeharfer.cli import main

if __name__ == "__main__":
    main()
