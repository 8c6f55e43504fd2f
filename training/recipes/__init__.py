"""One file per recipe, named <family>_<task>; found by file, there is no list to edit."""
