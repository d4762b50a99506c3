"""Problems, engines, sandbox, hint-infer, builds, publishing, and the `factory` command."""
