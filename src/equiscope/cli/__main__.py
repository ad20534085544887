"""``python -m equiscope.cli``, which is also what torchrun starts."""

from equiscope.cli import main

if __name__ == "__main__":
    main()
