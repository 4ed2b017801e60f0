"""What is special about each task; the engine knows them by `mgil.tasks.base` alone."""
