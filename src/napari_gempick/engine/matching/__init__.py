"""The exact masked NCC: one micrograph against one bank, its workers, and poses between the pixels searched."""
