package healkv

import "healkv/dataplane"

// Space is how the node's logs stand, all shards together.
type Space struct {
	AppendedBytes   uint64 `json:"appended_bytes"`   // in this life, without what the cleaner moved
	MovedBytes      uint64 `json:"moved_bytes"`      // by the cleaner, in this life
	CleanedSegments uint64 `json:"cleaned_segments"` // emptied in this life
	LiveBytes       uint64 `json:"live_bytes"`       // of records that are current, as far as they are counted
	FreeBytes       uint64 `json:"free_bytes"`       // that can be appended
	WaitingSegments uint64 `json:"waiting_segments"` // emptied, and not free yet
	Tombstones      uint64 `json:"tombstones"`       // of deleted keys
	Dropped         uint64 `json:"tombstones_dropped"`
	// Amplification is bytes written to the logs for each that was appended.
	Amplification float64 `json:"amplification"`
}

const (
	spaceLive    = "space live"
	spaceFree    = "space free"
	spaceWaiting = "space waiting"
	spaceStones  = "space tombstones"
)

// countSpace adds up what one shard's store knows, inside Do. What is no counter
// has a name that takeSpace knows.
func countSpace(w *dataplane.Worker, c map[string]uint64) {
	x := w.Pool().Store().Space()
	for name, n := range map[string]uint64{"appended_bytes": x.Appended, "tombstones_dropped": x.Dropped,
		spaceLive: x.Live, spaceFree: x.Free, spaceWaiting: x.Waiting, spaceStones: x.Tombstones} {
		c[name] += n
	}
}

// takeSpace makes the Space of what countSpace has added up.
func takeSpace(c map[string]uint64) Space {
	x := Space{AppendedBytes: c["appended_bytes"], MovedBytes: c["cleaned_bytes"], CleanedSegments: c["cleaned_segments"],
		LiveBytes: c[spaceLive], FreeBytes: c[spaceFree], WaitingSegments: c[spaceWaiting], Tombstones: c[spaceStones],
		Dropped: c["tombstones_dropped"], Amplification: 1}
	if x.AppendedBytes > 0 {
		x.Amplification = float64(x.AppendedBytes+x.MovedBytes) / float64(x.AppendedBytes)
	}
	for _, name := range [...]string{spaceLive, spaceFree, spaceWaiting, spaceStones} {
		delete(c, name)
	}
	return x
}
