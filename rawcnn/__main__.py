"""The command `rawcnn`, also `python -m rawcnn`: the subcommands of room `run`, and `report` from the room above it."""

from rawcnn.run import command


def main() -> None:
    """What the console script `rawcnn` calls."""
    command.main({"report": command.Command("make a page that opens a run's net in a browser", _report)})


def _report(argv: list[str]) -> None:
    from rawcnn.report.command import report  # only here: other subcommands need not wait for it

    report(argv)


if __name__ == "__main__":
    main()
