"""``python -m huiying.cli``: how ``serve`` starts its processes."""

from huiying.cli import main

if __name__ == "__main__":
    main()
