"""The command `modelmeter`: a file a subcommand, registered in `main.COMMANDS`."""
