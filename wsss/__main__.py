"""`python -m wsss`: the command line is in wsss/cli/main.py."""

from wsss.cli.main import main

if __name__ == "__main__":
    main()
