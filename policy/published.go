package policy

// published are keys whose private halves stand in standards and so in countless examples, test
// suites and images: the SHA-256 of the public key's SubjectPublicKeyInfo (DER), and where the
// private key can be read.
var published = map[string]string{
	"8fb6bad671cfe698393c453357da61b56d757ab8c0f3fb9c87f2849e63131878": "RFC 9500 (RSA, 2048 bits)",
	"96465ea5dc9bb2da7b351d808a7196e5761f2412a5040131c68d719aaba28fb9": "RFC 9500 (RSA, 4096 bits)",
	"b2b04340cfaee616ec9c2c62d261b208e54bb197498df52e8cadede23ac0ba5e": "RFC 9500 (P-256)",
	"c4c10105a0be0ed4dd3354428dc38a9bfee64da141ce16e75c94eda272f9dd3a": "RFC 9500 (P-384)",
	"acb1b8327fef995e2458fdf5e3c33b2dc0749feabd6a894cb9bda9d70ac06c24": "RFC 9500 (P-521)",
	"2bd1bb0c44a897c30a7aa0991cde38d8062fe441de50da0f46825344f602e827": "RFC 7515 appendix A.3",
	"a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f": "RFC 8410 section 10.3",
	"06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9": "RFC 8032 section 7.1, test 1",
	"deb2ded39dc26fce0e6085b6fc34bf6b5941913bbfe2ea614113cff9e004c170": "RFC 8032 section 7.1, test 2",
}
