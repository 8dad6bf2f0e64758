package ca

// Reasons by their RFC 5280 names, as the REST API spells them. 7 is unused; 6 and 8 are for states
// that a leaf of ours cannot have.
