// Package identity is who the nodes of a cluster are to one another over a
// network: a certificate per node, signed by the cluster's own authority, that
// names cluster and node in a URI, healkv://CLUSTER/NODE. It reads the files,
// makes the TLS configurations in which both ends prove themselves, and makes
// certificates for those who have no authority of their own.
//
// TLS 1.3 only, and no session is resumed: every connection proves itself anew
// with what the files hold at that moment, or held when they would do last
// (Keeper), so that replacing them is all there is to renewing a certificate.
// Host names are not compared, addresses may change; what counts is the
// authority and the URI.
//
// It opens no sockets. Any goroutine. Sources: RFC 8446 for TLS 1.3, RFC 5280
// for certificates and the URI in subjectAltName.
package identity
