"""The challenges file's compiler: text to a rulebook, or every error."""
