//! Cases that once had another answer, as small as they get.
