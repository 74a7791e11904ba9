//! From a [`crate::aggregate::Snapshot`] to a document: text for people, JSON for programs.
