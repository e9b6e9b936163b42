"""The family while it learns (torch): what each member minimises, and its layers afterwards."""
