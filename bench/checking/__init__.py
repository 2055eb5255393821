"""What `bench check` looks at, one module for each kind of file in a results folder."""
