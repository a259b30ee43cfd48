"""``python -m mae_plugin``: the command ``mae-plugin``, for launchers that start modules."""

from mae_plugin.cli.main import main

if __name__ == '__main__':
    main()
