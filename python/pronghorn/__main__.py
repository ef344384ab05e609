"""`python -m pronghorn APP`: the same command line as `pronghorn APP`."""

from pronghorn.cli import main

if __name__ == "__main__":
    main()
