//! What is traced: a process as `/proc` shows it.
