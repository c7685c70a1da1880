//! Nothing is shipped from here: `tests/simulation` runs the whole pipe from one seed, and for that it has to know crates that do not know
//! each other.
