"""Run the command line with `python -m edgeharfer.cli`."""

from edgeharfer.cli import main

if __name__ == "__main__":
    main()
