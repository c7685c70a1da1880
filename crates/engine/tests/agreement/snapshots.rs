//! State as bytes: what comes back is what was written, part by part, and damage is an error.
