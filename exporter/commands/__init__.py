"""What the commands of the command line do, one or two files each."""
