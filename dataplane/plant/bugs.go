package plant

// The hazards of protocol.md.
const (
	H1Flush      Bug = "H1-flush-before-promotion"
	H2LiveUntil  Bug = "H2-shadow-death-moves-live-until"
	H2Range      Bug = "H2-range-from-newest-marker"
	H3Marks      Bug = "H3-watermarks-of-a-newer-view"
	H4Entries    Bug = "H4-entries-of-a-newer-view"
	H5Epoch      Bug = "H5-timestamp-keeps-its-epoch"
	H6Installed  Bug = "H6-range-before-all-have-installed"
	H6Feed       Bug = "H6-shadow-fed-from-the-tail"
	H7Fed        Bug = "H7-fed-from-is-not-taken-for-visible"
	H7Visible    Bug = "H7-owner-fed-from-is-not-looked-at"
	H7Forget     Bug = "H7-gone-members-records-stay-locked"
	H7Owner      Bug = "H7-adopted-record-of-a-gone-owner"
	H7Lent       Bug = "H7-owner-goes-after-the-adoption"
	H8Lock       Bug = "H8-adopted-record-unlocked"
	H9Outside    Bug = "H9-removed-life-comes-back"
	H9Entry      Bug = "H9-entry-of-another-life"
	H10Marker    Bug = "H10-first-marker-at-the-tail"
	H11Loser     Bug = "H11-loser-durable-before-its-winner"
	H13Leftover  Bug = "H13-leftover-stays-locked"
	H14Position  Bug = "H14-seed-without-the-position"
	H14Life      Bug = "H14-seed-without-the-life"
	H15Shadow    Bug = "H15-shadows-make-a-cold-start"
	H15All       Bug = "H15-cold-start-without-waiting"
	H16Gone      Bug = "H16-stable-moves-before-all-settled"
	H16Promoted  Bug = "H16-settling-left-out"
	H18Reclaim   Bug = "H18-ring-reclaimed-above-visible"
	H19Stale     Bug = "H19-older-pool-goes-unnoticed"
	H19Saw       Bug = "H19-members-forget-what-they-saw-flushed"
	H20Flushed   Bug = "H20-stable-above-flushed"
	H22Quiet     Bug = "H22-restarted-acceptor-forgets-its-grants"
	H25Free      Bug = "H25-freed-before-the-flush"
	H26Wake      Bug = "H26-only-the-newest-wakes-readers"
	H27Body      Bug = "H27-body-not-verified-on-the-own-copy"
	H28Ask       Bug = "H28-room-not-asked-for"
	H28Reserve   Bug = "H28-no-reserve-for-deletes"
	H28Used      Bug = "H28-room-promised-twice"
	H29Complaint Bug = "H29-complaint-does-not-stop-extensions"
	H30Apply     Bug = "H30-applying-waits-for-the-roll-forward"
)

// Others: one check, order or flush left out each.
const (
	TSVersion       Bug = "ts-version-not-raised"
	TSNode          Bug = "ts-without-the-tie-breaker"
	TSWrap          Bug = "ts-version-wraps"
	AckEarly        Bug = "ack-before-apply"
	AckUnflushed    Bug = "ack-before-flush"
	OwnUnflushed    Bug = "own-flush-not-waited-for"
	DeadMember      Bug = "dead-members-watermark-counts"
	ShadowUncounted Bug = "shadow-not-counted-in-everywhere"
	FirstSettles    Bug = "one-acknowledgement-is-enough"
	AnswerEarly     Bug = "answered-when-applied"
	ReadEarly       Bug = "readable-when-applied"
	PersistEarly    Bug = "persist-answered-when-applied"
	PersistNoFlush  Bug = "persist-asks-for-no-flush"
	OldWins         Bug = "older-timestamp-applied"
	ReplayUnlocks   Bug = "replay-unlocks"
	ReplayLocks     Bug = "replay-locks-what-was-readable"
	AppliedUnlocked Bug = "applied-record-readable-at-once"
	OwnUnlocked     Bug = "own-write-readable-at-once"
	AdoptOlder      Bug = "transfer-without-ts-guard"
	AdoptVisible    Bug = "adoption-leaves-visible-locked"
	AdoptStream     Bug = "adoption-unlocks-what-a-stream-brought"
	ForwardUnseen   Bug = "gone-members-visible-not-taken-in"
	ForwardStable   Bug = "stable-does-not-wait-for-the-roll-forward"
	SpanAfter       Bug = "stable-from-the-end-of-a-burst"
	MarkersDropped  Bug = "older-markers-dropped"
	BoundMissed     Bug = "cleaner-eats-missed-ranges"
	BoundStable     Bug = "cleaner-works-above-stable"
	WriteUnleased   Bug = "write-without-the-lease"
	WriteUnlive     Bug = "shadow-takes-writes"
	ReadUnleased    Bug = "read-at-the-worker-without-the-lease"
	ReadLocked      Bug = "locked-record-read"
	WakeOlder       Bug = "waiting-read-answered-with-an-older-record"
	WakeKey         Bug = "waiting-read-answered-with-another-key"
	MarksAhead      Bug = "impossible-watermarks-taken"
	MarksBack       Bug = "watermarks-step-back"
	EntrySeq        Bug = "entry-out-of-its-place"
	ForwardTS       Bug = "roll-forward-mints-a-timestamp"
	BuddyShadow     Bug = "buddy-is-a-shadow"
	BuddyDied       Bug = "transfer-from-a-dead-buddy-counts"
	NoLeftovers     Bug = "own-leftovers-not-offered"
	PromoteOldFlush Bug = "flush-of-an-older-view-counts"
	PromoteLagging  Bug = "promotion-before-all-have-installed"
	ConnectLate     Bug = "admission-before-connections"
	NeverLive       Bug = "range-for-a-pool-that-was-never-live"
	ColdAlone       Bug = "cold-member-promotes-before-the-others"
	ColdDied        Bug = "cold-members-death-ignored"
	ColdBlank       Bug = "blank-pool-in-a-cold-start"
	RaceLane        Bug = "race-lane-tail"
	RaceLogTail     Bug = "race-log-tail"
	RaceAnnounce    Bug = "race-reader-announcement"
	RaceWord        Bug = "race-index-word"
	RaceStreamTail  Bug = "race-stream-tail"
	LostWrite       Bug = "lost-write"
	StaleReplica    Bug = "stale-replica"
	StaleRead       Bug = "stale-read"
)

// All lists the bugs.
var All = []Bug{
	H1Flush, H2LiveUntil, H2Range, H3Marks, H4Entries, H5Epoch,
	H6Installed, H6Feed, H7Fed, H7Visible, H7Forget, H7Owner,
	H7Lent, H8Lock, H9Outside, H9Entry, H10Marker, H11Loser,
	H13Leftover, H14Position, H14Life, H15Shadow, H15All, H16Gone,
	H16Promoted, H18Reclaim, H19Stale, H19Saw, H20Flushed, H22Quiet,
	H25Free, H26Wake, H27Body, H28Ask, H28Reserve, H28Used,
	H29Complaint, H30Apply, TSVersion, TSNode, TSWrap, AckEarly,
	AckUnflushed, OwnUnflushed, DeadMember, ShadowUncounted, FirstSettles, AnswerEarly,
	ReadEarly, PersistEarly, PersistNoFlush, OldWins, ReplayUnlocks, ReplayLocks,
	AppliedUnlocked, OwnUnlocked, AdoptOlder, AdoptVisible, AdoptStream, ForwardUnseen,
	ForwardStable, SpanAfter, MarkersDropped, BoundMissed, BoundStable, WriteUnleased,
	WriteUnlive, ReadUnleased, ReadLocked, WakeOlder, WakeKey, MarksAhead,
	MarksBack, EntrySeq, ForwardTS, BuddyShadow, BuddyDied, NoLeftovers,
	PromoteOldFlush, PromoteLagging, ConnectLate, NeverLive, ColdAlone, ColdDied,
	ColdBlank, RaceLane, RaceLogTail, RaceAnnounce, RaceWord, RaceStreamTail,
	LostWrite, StaleReplica, StaleRead,
}
