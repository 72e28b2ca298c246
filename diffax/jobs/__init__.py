"""Jobs: one file for each --mode of launch.py, with its flags and its run(config, workdir, args)."""
