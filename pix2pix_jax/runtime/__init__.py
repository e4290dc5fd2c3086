"""The process and its devices: start-up, meshes, console, caches, exits."""
