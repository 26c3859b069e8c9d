package tcp

// Stats of one endpoint. Bytes are of frames and streams, before TLS.
type Stats struct {
	Frames        uint64 // sent whole
	BytesOut      uint64
	Writes        uint64 // writev calls: one per burst and peer
	PartialWrites uint64 // that took only part of a frame
	Blocked       uint64 // times a peer's socket was full
	BytesIn       uint64
	Reads         uint64 // readv calls
	Spilled       uint64 // bytes of streams that were copied because they were read with the frame before
	Sleeps        uint64 // calls of Sleep
	SelfWakes     uint64 // system calls Wake made

	Accepted uint64 // connections of peers taken into use
	Broken   uint64 // connections to peers that ended without our doing
	Resumed  uint64 // streams that went on over a new connection
	Lost     uint64 // streams that could not go on
	Corrupt  uint64 // frames that made no sense; each cost a connection
	Torn     uint64 // frames that a broken connection has cut off
	Refused  uint64 // connections that were not admitted

	Redials       uint64 // connections made again
	RedialsFailed uint64 // attempts

	// Of peers' remote reads that were served here.
	RemoteReads uint64
	RemoteRaw   uint64 // bytes asked for and sent
	RemoteWire  uint64 // bytes that took on the network, compressed or not
}

// Stats is a copy of the endpoint's counts. Worker.
func (e *Endpoint) Stats() Stats {
	s := e.stats
	s.SelfWakes = e.poller.wakes.Load()
	s.Refused = e.gate.refused.Load()
	s.Redials, s.RedialsFailed = e.redials.Load(), e.redialsFailed.Load()
	s.RemoteReads, s.RemoteRaw, s.RemoteWire = e.remoteReads.Load(), e.remoteRaw.Load(), e.remoteWire.Load()
	return s
}

// Connections says what became of the connections of this endpoint's life, for
// the counters of a node's status. Worker.
func (e *Endpoint) Connections(count func(name string, n uint64)) {
	s := e.Stats()
	count("connections_accepted", s.Accepted)
	count("connections_broken", s.Broken)
	count("connections_refused", s.Refused)
	count("connections_made_again", s.Redials)
	count("streams_resumed", s.Resumed)
	count("streams_lost", s.Lost)
	count("frames_corrupt", s.Corrupt)
}
