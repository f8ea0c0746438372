"""`python -m rawcnn` is the command `rawcnn`."""

from rawcnn.run.command import main

if __name__ == "__main__":
    main()
