//! The live dashboard: state, view and input apart; everything shown comes from the Snapshot.
