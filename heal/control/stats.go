package control

import "sync/atomic"

type counters struct {
	requests, calls, notices, dropped, connects atomic.Uint64
	garbage, tooLarge, cutOff                   atomic.Uint64
	wrongCluster, wrongNode, wrongUser          atomic.Uint64
	unknownKind, busy, exits, unwatched         atomic.Uint64
	untrusted, expired, wrongVersion            atomic.Uint64
	handshakes, crowded, ownFiles               atomic.Uint64
	renewed, refusals                           atomic.Uint64
}

// Stats counts since New.
type Stats struct {
	Requests     uint64 `json:"requests"` // answered by a handler
	Calls        uint64 `json:"calls"`
	Notices      uint64 `json:"notices"`
	Dropped      uint64 `json:"dropped"` // notices not sent
	Connects     uint64 `json:"connects"`
	Garbage      uint64 `json:"garbage"`
	TooLarge     uint64 `json:"too_large"`
	CutOff       uint64 `json:"cut_off"`       // frames that ended early
	WrongCluster uint64 `json:"wrong_cluster"` // messages and certificates
	WrongNode    uint64 `json:"wrong_node"`    // likewise
	WrongUser    uint64 `json:"wrong_user"`
	UnknownKind  uint64 `json:"unknown_kind"`
	Busy         uint64 `json:"busy"`
	Exits        uint64 `json:"exits"`
	Unwatched    uint64 `json:"unwatched"` // peer processes without a pidfd

	// Of TLS handshakes, both sides.
	Untrusted    uint64 `json:"untrusted"` // not signed by the cluster's authority, or no certificate
	Expired      uint64 `json:"expired"`
	WrongVersion uint64 `json:"wrong_version"`
	Handshakes   uint64 `json:"handshakes_failed"` // for other reasons
	Crowded      uint64 `json:"crowded"`           // connections beyond the bound of those that have not proved themselves
	OwnFiles     uint64 `json:"own_files"`         // handshakes for which our own files would not do
	Renewed      uint64 `json:"renewed"`           // links dialled anew for new certificates
	Refusals     uint64 `json:"refusals"`          // lives where connections are refused now
}

// Refused sums up what peers and strangers were refused for.
func (s *Stats) Refused() uint64 {
	return s.Garbage + s.TooLarge + s.CutOff + s.WrongCluster + s.WrongNode + s.WrongUser + s.UnknownKind +
		s.Untrusted + s.Expired + s.WrongVersion + s.Handshakes + s.Crowded
}

func (s *Server) Stats() Stats {
	c := &s.stats
	return Stats{
		Requests: c.requests.Load(), Calls: c.calls.Load(), Notices: c.notices.Load(), Dropped: c.dropped.Load(),
		Connects: c.connects.Load(), Garbage: c.garbage.Load(), TooLarge: c.tooLarge.Load(), CutOff: c.cutOff.Load(),
		WrongCluster: c.wrongCluster.Load(), WrongNode: c.wrongNode.Load(), WrongUser: c.wrongUser.Load(),
		UnknownKind: c.unknownKind.Load(), Busy: c.busy.Load(), Exits: c.exits.Load(), Unwatched: c.unwatched.Load(),
		Untrusted: c.untrusted.Load(), Expired: c.expired.Load(), WrongVersion: c.wrongVersion.Load(),
		Handshakes: c.handshakes.Load(), Crowded: c.crowded.Load(), OwnFiles: c.ownFiles.Load(),
		Renewed: c.renewed.Load(), Refusals: c.refusals.Load(),
	}
}
