"""Runs a script as Python would: `python script.py FROZEN SHOWN ARGUMENT...`.

FROZEN is the copy that is run, SHOWN the path under which it is shown, with its folder first on the
module search path. Nothing is imported here that a script might not want to pay for.
"""


def main() -> None:
    """Run it."""
    import os
    import sys

    frozen, shown = sys.argv[1:3]
    sys.argv[:] = [shown, *sys.argv[3:]]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(shown)  # noqa: PTH120 -- pathlib takes longer than a script
    with open(frozen, "rb") as file:  # noqa: PTH123
        source = file.read()
    # It runs as the main module, so that its pickles and its child processes find their names.
    names = sys.modules["__main__"].__dict__
    names.pop("main")
    names.update(__file__=shown, __doc__=None, __cached__=None, __spec__=None)
    if os.environ.get("EVENTFLOCK_SURVEY"):
        from eventflock.rows.loaded import watch_this_process

        watch_this_process(os.environ.pop("EVENTFLOCK_SURVEY"))
    try:
        exec(compile(source, shown, "exec"), names)  # noqa: S102 -- what the user asked for
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001
        frames = error.__traceback__
        error.__traceback__ = frames and frames.tb_next  # as it would be without this file
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)


if __name__ == "__main__":
    main()
