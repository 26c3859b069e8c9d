package plant

// The hazards of protocol.md.
const (
	H1Flush       Bug = "H1-flush-before-promotion"
	H2LiveUntil   Bug = "H2-shadow-death-moves-live-until"
	H2Range       Bug = "H2-range-from-newest-marker"
	H3Marks       Bug = "H3-watermarks-of-a-newer-view"
	H3Line        Bug = "H3-line-with-its-epoch-last"
	H3Load        Bug = "H3-line-read-with-its-epoch-first"
	H4Entries     Bug = "H4-entries-of-a-newer-view"
	H5Epoch       Bug = "H5-timestamp-keeps-its-epoch"
	H6Installed   Bug = "H6-range-before-all-have-installed"
	H6Feed        Bug = "H6-shadow-fed-from-the-tail"
	H7Fed         Bug = "H7-fed-from-is-not-taken-for-visible"
	H7Visible     Bug = "H7-owner-fed-from-is-not-looked-at"
	H7Forget      Bug = "H7-gone-members-records-stay-locked"
	H7Owner       Bug = "H7-adopted-record-of-a-gone-owner"
	H7Lent        Bug = "H7-owner-goes-after-the-adoption"
	H7Polled      Bug = "H7-buddy-lists-before-it-has-polled"
	H8Lock        Bug = "H8-adopted-record-unlocked"
	H9Outside     Bug = "H9-removed-life-comes-back"
	H9Entry       Bug = "H9-entry-of-another-life"
	H9Line        Bug = "H9-line-of-another-pair"
	H9Life        Bug = "H9-attachment-of-another-life"
	H10Marker     Bug = "H10-first-marker-at-the-tail"
	H11Loser      Bug = "H11-loser-durable-before-its-winner"
	H12Session    Bug = "H12-lease-not-checked-after-the-read"
	H12Generation Bug = "H12-lease-generation-not-compared"
	H12Worker     Bug = "H12-worker-answers-reads-without-the-lease"
	H13Leftover   Bug = "H13-leftover-stays-locked"
	H14Position   Bug = "H14-seed-without-the-position"
	H14Life       Bug = "H14-seed-without-the-life"
	H15Shadow     Bug = "H15-shadows-make-a-cold-start"
	H15All        Bug = "H15-cold-start-without-waiting"
	H16Gone       Bug = "H16-stable-moves-before-all-settled"
	H16Promoted   Bug = "H16-settling-left-out"
	H17LiveUntil  Bug = "H17-full-copy-keeps-live-until"
	H17Flag       Bug = "H17-pool-not-called-incomplete"
	H18Reclaim    Bug = "H18-ring-reclaimed-above-visible"
	H19Stale      Bug = "H19-older-pool-goes-unnoticed"
	H19Saw        Bug = "H19-members-forget-what-they-saw-flushed"
	H19Hello      Bug = "H19-hello-does-not-say-stale"
	H20Flushed    Bug = "H20-stable-above-flushed"
	H21Acceptor   Bug = "H21-acceptors-file-not-flushed-again"
	H21Again      Bug = "H21-not-flushed-again-on-open"
	H21Kept       Bug = "H21-index-kept-after-a-failed-flush"
	H21Failed     Bug = "H21-failed-flush-forgotten"
	H22Quiet      Bug = "H22-restarted-acceptor-forgets-its-grants"
	H23Reuse      Bug = "H23-page-reused-under-readers"
	H25Free       Bug = "H25-freed-before-the-flush"
	H26Wake       Bug = "H26-only-the-newest-wakes-readers"
	H27Body       Bug = "H27-body-not-verified-on-the-own-copy"
	H27Generation Bug = "H27-ring-generation-not-asked-again"
	H28Ask        Bug = "H28-room-not-asked-for"
	H28Reserve    Bug = "H28-no-reserve-for-deletes"
	H28Used       Bug = "H28-room-promised-twice"
	H29Complaint  Bug = "H29-complaint-does-not-stop-extensions"
	H29Progress   Bug = "H29-hung-shards-renew-their-lease"
	H30Apply      Bug = "H30-applying-waits-for-the-roll-forward"
)

// Others: one check, order or flush left out each.
const (
	TSVersion        Bug = "ts-version-not-raised"
	TSNode           Bug = "ts-without-the-tie-breaker"
	TSWrap           Bug = "ts-version-wraps"
	AckEarly         Bug = "ack-before-apply"
	AckUnflushed     Bug = "ack-before-flush"
	OwnUnflushed     Bug = "own-flush-not-waited-for"
	DeadMember       Bug = "dead-members-watermark-counts"
	ShadowUncounted  Bug = "shadow-not-counted-in-everywhere"
	FirstSettles     Bug = "one-acknowledgement-is-enough"
	AnswerEarly      Bug = "answered-when-applied"
	ReadEarly        Bug = "readable-when-applied"
	PersistEarly     Bug = "persist-answered-when-applied"
	PersistNoFlush   Bug = "persist-asks-for-no-flush"
	OldWins          Bug = "older-timestamp-applied"
	ReplayUnlocks    Bug = "replay-unlocks"
	ReplayLocks      Bug = "replay-locks-what-was-readable"
	AppliedUnlocked  Bug = "applied-record-readable-at-once"
	OwnUnlocked      Bug = "own-write-readable-at-once"
	AdoptOlder       Bug = "transfer-without-ts-guard"
	AdoptVisible     Bug = "adoption-leaves-visible-locked"
	AdoptStream      Bug = "adoption-unlocks-what-a-stream-brought"
	ForwardUnseen    Bug = "gone-members-visible-not-taken-in"
	ForwardStable    Bug = "stable-does-not-wait-for-the-roll-forward"
	LentStable       Bug = "stable-passes-a-lent-record"
	SpanAfter        Bug = "stable-from-the-end-of-a-burst"
	MarkersDropped   Bug = "older-markers-dropped"
	BoundMissed      Bug = "cleaner-eats-missed-ranges"
	BoundStable      Bug = "cleaner-works-above-stable"
	WriteUnleased    Bug = "write-without-the-lease"
	WriteUnlive      Bug = "shadow-takes-writes"
	ReadUnleased     Bug = "read-at-the-worker-without-the-lease"
	ReadLocked       Bug = "locked-record-read"
	WakeOlder        Bug = "waiting-read-answered-with-an-older-record"
	WakeKey          Bug = "waiting-read-answered-with-another-key"
	MarksAhead       Bug = "impossible-watermarks-taken"
	MarksBack        Bug = "watermarks-step-back"
	EntrySeq         Bug = "entry-out-of-its-place"
	ForwardTS        Bug = "roll-forward-mints-a-timestamp"
	BuddyShadow      Bug = "buddy-is-a-shadow"
	BuddyDied        Bug = "transfer-from-a-dead-buddy-counts"
	NoLeftovers      Bug = "own-leftovers-not-offered"
	PromoteOldFlush  Bug = "flush-of-an-older-view-counts"
	PromoteLagging   Bug = "promotion-before-all-have-installed"
	ConnectLate      Bug = "admission-before-connections"
	NeverLive        Bug = "range-for-a-pool-that-was-never-live"
	ColdAlone        Bug = "cold-member-promotes-before-the-others"
	ColdDied         Bug = "cold-members-death-ignored"
	ColdBlank        Bug = "blank-pool-in-a-cold-start"
	ColdAway         Bug = "range-after-a-cold-start-without-this-node"
	RaceLane         Bug = "race-lane-tail"
	RaceLogTail      Bug = "race-log-tail"
	RaceAnnounce     Bug = "race-reader-announcement"
	RaceWord         Bug = "race-index-word"
	RaceStreamTail   Bug = "race-stream-tail"
	LostWrite        Bug = "lost-write"
	StaleReplica     Bug = "stale-replica"
	StaleRead        Bug = "stale-read"
	LogFlushHeader   Bug = "flush-skips-headers-of-new-segments"
	LogFlushSeal     Bug = "flush-skips-seals"
	LogFlushFirst    Bug = "flush-skips-the-start-of-a-range"
	LogFlushReleased Bug = "flush-skips-released-headers"
	LogReuseEarly    Bug = "released-segment-reused-before-its-flush"
	LogOneStep       Bug = "released-header-cleared-in-one-step"
	LogSealUnchecked Bug = "seal-not-checked"
	LogOneCopy       Bug = "segment-header-without-its-second-copy"
	LogScanBody      Bug = "scan-does-not-verify-bodies"
	LogUnstage       Bug = "staged-bytes-stay"
	LogFlushedAhead  Bug = "durable-position-in-records-is-the-tail"
	RecordHeaderCRC  Bug = "record-header-checksum-not-checked"
	RecordBodyCRC    Bug = "record-body-checksum-not-checked"
	RecordLimit      Bug = "record-lengths-not-limited"
	StoreKey         Bug = "tag-match-without-key-compare"
	StoreReaders     Bug = "cleaner-ignores-readers"
	StoreAnnounce    Bug = "reader-does-not-announce-itself"
	StoreShut        Bug = "reader-enters-after-shut"
	UnlockUnequal    Bug = "unlock-on-unequal-ts"
	StoreMoveLocked  Bug = "cleaner-moves-locked-records"
	StoreMoveDamaged Bug = "cleaner-moves-damaged-records"
	StoreMoveMarker  Bug = "cleaner-drops-the-newest-marker"
	StorePin         Bug = "cleaner-ignores-a-later-pin"
	StoreDebt        Bug = "cleaner-gives-its-reserve-away"
	StoreRun         Bug = "range-list-keeps-the-first-lock"
	StoreListed      Bug = "range-list-ends-at-a-stride"
	StoreHash        Bug = "key-hash-not-checked-on-the-own-copy"
	StoreRefind      Bug = "index-moved-between-find-and-put"
	StoreVerify      Bug = "reads-are-never-verified"
	IndexSplitKey    Bug = "split-loses-a-key"
	IndexIntent      Bug = "split-without-its-intent"
	IndexCopyUp      Bug = "next-level-not-kept-in-step"
	IndexPend        Bug = "insert-without-its-note"
	IndexRedo        Bug = "open-leaves-a-split-half-done"
	IndexDirSum      Bug = "directory-checksum-not-checked"
	IndexStale       Bug = "cursor-valid-after-a-split"
	RingSkipRoom     Bug = "ring-room-without-the-skip"
	RingSkipMark     Bug = "ring-skip-not-marked"
	RingReclaimBack  Bug = "ring-reclaim-steps-back"
	RingLimit        Bug = "peers-tail-believed"
	RingSkipBelieved Bug = "skip-mark-believed-anywhere"
	ShmTail          Bug = "tail-taken-after-the-peer-detached"
	ShmAttach        Bug = "attached-before-the-line-is-reset"
	ShmDetach        Bug = "detached-peer-may-still-read"
	ShmResume        Bug = "stream-resumed-at-the-feed"
	ShmBack          Bug = "tail-that-steps-back-believed"
	ShmMark          Bug = "sleeper-without-its-mark"
	ShmUnrung        Bug = "peers-not-woken"
	ShmDead          Bug = "connection-to-a-dead-life"
	ShmSweep         Bug = "files-of-a-living-node-swept"
	TCPTokenTwice    Bug = "tcp-token-good-twice"
	TCPTokenOld      Bug = "tcp-token-good-for-ever"
	TCPLife          Bug = "tcp-connection-of-another-life"
	TCPPosition      Bug = "tcp-bytes-at-any-position-believed"
	TCPTag           Bug = "tcp-attachments-not-told-apart"
	TCPSum           Bug = "tcp-bytes-not-checked"
	TCPHeader        Bug = "tcp-header-not-checked"
	TCPRewind        Bug = "tcp-link-made-again-reads-from-the-feed"
	TCPWait          Bug = "tcp-sent-before-the-position-is-known"
	TCPResume        Bug = "tcp-resumed-at-the-feed"
	TCPDetach        Bug = "tcp-detached-peer-not-told"
	TCPWoken         Bug = "tcp-wake-up-drained"
	TCPRange         Bug = "tcp-range-not-checked"
	GrantForgotten   Bug = "grant-forgotten"
	GrantDrift       Bug = "clock-drift-ignored"
	GrantAnybody     Bug = "lease-for-a-member-that-was-voted-out"
	GrantOver        Bug = "lease-for-a-life-that-is-over"
	RenewMinority    Bug = "lease-from-a-minority"
	RenewReset       Bug = "new-life-keeps-the-old-ones-lease"
	AcceptOutbid     Bug = "accept-without-promise"
	PromiseForgotten Bug = "promise-not-kept"
	AcceptUnguarded  Bug = "view-accepted-against-a-lease"
	LearnOlder       Bug = "older-value-learnt"
	CatchUpBlind     Bug = "acceptor-votes-without-catching-up"
	BallotLife       Bug = "ballots-of-two-lives-equal"
	BallotRound      Bug = "ballots-compared-by-node"
	ProposeOwn       Bug = "proposer-ignores-accepted-values"
	ProposeFew       Bug = "chosen-one-short-of-a-majority"
	ProposeUnsettled Bug = "declined-on-an-unsettled-value"
	LeaseGeneration  Bug = "lease-won-again-in-one-generation"
	LeaseRevoke      Bug = "lease-not-given-up"
	LeaseBack        Bug = "lease-moves-back"
	LeaseReply       Bug = "lease-counted-from-the-reply"
	VoteUnsaved      Bug = "vote-before-it-is-durable"
	VoteAtOnce       Bug = "restarted-acceptor-votes-at-once"
	GrantUndurable   Bug = "lease-from-an-undurable-view"
	PromoteMoved     Bug = "promotion-in-a-view-that-has-moved"
	FileCRC          Bug = "acceptor-file-checksum-not-checked"
	DeadlineHeld     Bug = "deadline-of-held-operations-ignored"
	DeadlineRejected Bug = "overdue-write-called-rejected"
	StopRejected     Bug = "write-cut-off-by-the-end-called-rejected"
	ViewFence        Bug = "gone-member-not-detached"
	BuddyView        Bug = "range-of-an-older-view"
	BuddyLost        Bug = "range-that-was-given-up"
	BuddyGap         Bug = "buddys-list-ends-before-its-worker"
	BuddyEnd         Bug = "given-up-range-counts"
	UpdateMoved      Bug = "compare-and-swap-without-compare"
	AdmitLive        Bug = "full-copy-while-the-view-counts-the-former-life"
	FlushSkipped     Bug = "flush-skipped"
	FenceSkipped     Bug = "fence-skipped"
	SuperAhead       Bug = "superblock-claims-what-its-own-fence-covers"
	SuperStable      Bug = "superblock-stable-above-durable"
	SuperOnce        Bug = "superblock-written-to-one-copy"
	SuperUnfenced    Bug = "superblock-not-waited-for"
	SuperOver        Bug = "superblock-over-its-newer-copy"
	SuperOlder       Bug = "older-superblock-copy-taken"
	SuperCRC         Bug = "superblock-checksum-not-checked"
	SuperForeign     Bug = "foreign-pool-opened"
	IndexBoot        Bug = "index-kept-over-a-boot"
	IndexBase        Bug = "index-from-before-a-discard-kept"
	IndexBeyond      Bug = "index-refers-above-the-logs-end"
	ReplayShort      Bug = "kept-index-not-replayed"
	ReplayUnsettled  Bug = "replay-from-the-stable-position"
	CrashUnlocked    Bug = "partially-persisted-records-readable-after-a-crash"
	RebuildReplay    Bug = "rebuild-takes-the-first-of-equal-ts"
	RebuildLater     Bug = "rebuild-takes-the-later-position"
	RebuildMarker    Bug = "rebuild-takes-an-older-marker"
	BeginAgain       Bug = "incarnation-begun-twice"
	RecoverBody      Bug = "tail-body-not-verified"
	RecoverDamage    Bug = "log-that-ends-below-durable-accepted"
	RecoverFloor     Bug = "positions-given-out-again-after-a-discard"
	RecoverTorn      Bug = "log-goes-on-behind-a-torn-segment"
	RecoverRepair    Bug = "repairs-of-recovery-not-flushed"
	RecoverNumber    Bug = "segment-number-used-twice"
	RecoverDropped   Bug = "segments-above-the-tail-keep-their-headers"
	WorkerLease      Bug = "worker-does-not-look-at-the-lease"
	WorkerFlush      Bug = "worker-calls-unflushed-flushed"
	WorkerStable     Bug = "worker-calls-everything-stable"
	WorkerFailed     Bug = "worker-goes-on-after-a-failed-flush"
	WorkerPin        Bug = "cleaner-ignores-the-pin"
	WorkerIndex      Bug = "shard-with-a-full-index-publishes"
	AdoptDropped     Bug = "record-without-room-dropped-at-adoption"
	PullUnverified   Bug = "buddys-records-not-verified"
	PullEnd          Bug = "buddy-not-asked-at-the-end"
	PullLast         Bug = "last-batch-not-waited-for"
	PullLock         Bug = "runs-lock-lost-on-the-way"
	InstalledEarly   Bug = "installed-before-all-shards-have"
	StopReaders      Bug = "mapping-goes-under-readers"
	BuddyPin         Bug = "range-not-pinned"
	RollVisible      Bug = "leftovers-not-waited-for"
	WorkerPatience   Bug = "broken-stream-looked-at-for-ever"
	RollDeaf         Bug = "waiting-for-leftovers-hears-nothing"
	RetryNews        Bug = "news-ends-the-pause-between-two-tries"
	LifelessLease    Bug = "lease-renewed-between-two-lives"
	IdentTrust       Bug = "certificate-of-anybody"
	IdentCluster     Bug = "certificate-of-another-cluster"
	IdentNode        Bug = "certificate-of-another-node"
	IdentSelf        Bug = "certificate-of-ones-own-name"
	IdentOwn         Bug = "own-certificate-not-compared"
	IdentKey         Bug = "key-readable-by-others"
	IdentSpelling    Bug = "name-with-two-spellings"
	IdentTwo         Bug = "certificate-with-two-names"
	CtlVersion       Bug = "peer-of-another-version"
	CtlAdmit         Bug = "handshake-without-a-limit"
	CtlGreet         Bug = "greeting-without-a-limit"
	CtlName          Bug = "message-in-anothers-name"
	CtlCluster       Bug = "message-of-another-cluster"
	CtlTo            Bug = "message-for-another-node"
	CtlFrame         Bug = "frame-of-any-length"
	CtlAnswer        Bug = "answer-of-another-node"
	CtlHeard         Bug = "hello-of-an-earlier-life"
	CtlCrowd         Bug = "connections-of-a-node-not-bounded"
	HelloName        Bug = "hello-in-anothers-name"
	RangeName        Bug = "range-in-anothers-name"
	PullCut          Bug = "run-that-ends-within-a-record"
	TCPAsked         Bug = "tcp-parameters-of-another-life"
	TCPAlone         Bug = "tcp-one-end-encrypts"
	TCPClients       Bug = "tcp-clients-not-verified"
	TCPSumRanges     Bug = "tcp-sum-of-ranges-not-compared"
)

// All lists the bugs.
var All = []Bug{
	H1Flush, H2LiveUntil, H2Range, H3Marks, H3Line, H3Load,
	H4Entries, H5Epoch, H6Installed, H6Feed, H7Fed, H7Visible,
	H7Forget, H7Owner, H7Lent, H7Polled, H8Lock, H9Outside,
	H9Entry, H9Line, H9Life, H10Marker, H11Loser, H12Session,
	H12Generation, H12Worker, H13Leftover, H14Position, H14Life, H15Shadow,
	H15All, H16Gone, H16Promoted, H17LiveUntil, H17Flag, H18Reclaim,
	H19Stale, H19Saw, H19Hello, H20Flushed, H21Acceptor, H21Again,
	H21Kept, H21Failed, H22Quiet, H23Reuse, H25Free, H26Wake,
	H27Body, H27Generation, H28Ask, H28Reserve, H28Used, H29Complaint,
	H29Progress, H30Apply, TSVersion, TSNode, TSWrap, AckEarly,
	AckUnflushed, OwnUnflushed, DeadMember, ShadowUncounted, FirstSettles, AnswerEarly,
	ReadEarly, PersistEarly, PersistNoFlush, OldWins, ReplayUnlocks, ReplayLocks,
	AppliedUnlocked, OwnUnlocked, AdoptOlder, AdoptVisible, AdoptStream, ForwardUnseen,
	ForwardStable, LentStable, SpanAfter, MarkersDropped, BoundMissed, BoundStable, WriteUnleased,
	WriteUnlive, ReadUnleased, ReadLocked, WakeOlder, WakeKey, MarksAhead,
	MarksBack, EntrySeq, ForwardTS, BuddyShadow, BuddyDied, NoLeftovers,
	PromoteOldFlush, PromoteLagging, ConnectLate, NeverLive, ColdAlone, ColdDied,
	ColdBlank, ColdAway, RaceLane, RaceLogTail, RaceAnnounce, RaceWord, RaceStreamTail,
	LostWrite, StaleReplica, StaleRead, LogFlushHeader, LogFlushSeal, LogFlushFirst,
	LogFlushReleased, LogReuseEarly, LogOneStep, LogSealUnchecked, LogOneCopy, LogScanBody,
	LogUnstage, LogFlushedAhead, RecordHeaderCRC, RecordBodyCRC, RecordLimit, StoreKey,
	StoreReaders, StoreAnnounce, StoreShut, UnlockUnequal, StoreMoveLocked, StoreMoveDamaged,
	StoreMoveMarker, StorePin, StoreDebt, StoreRun, StoreListed, StoreHash,
	StoreRefind, StoreVerify, IndexSplitKey, IndexIntent, IndexCopyUp, IndexPend,
	IndexRedo, IndexDirSum, IndexStale, RingSkipRoom, RingSkipMark, RingReclaimBack,
	RingLimit, RingSkipBelieved, ShmTail, ShmAttach, ShmDetach, ShmResume,
	ShmBack, ShmMark, ShmUnrung, ShmDead, ShmSweep, GrantForgotten,
	GrantDrift, GrantAnybody, GrantOver, RenewMinority, RenewReset, AcceptOutbid,
	PromiseForgotten, AcceptUnguarded, LearnOlder, CatchUpBlind, BallotLife, BallotRound,
	ProposeOwn, ProposeFew, ProposeUnsettled, LeaseGeneration, LeaseRevoke, LeaseBack,
	LeaseReply, VoteUnsaved, VoteAtOnce, GrantUndurable, PromoteMoved, FileCRC,
	DeadlineHeld, DeadlineRejected, StopRejected, ViewFence, BuddyView, BuddyLost,
	BuddyGap, BuddyEnd, UpdateMoved, AdmitLive, FlushSkipped, FenceSkipped,
	SuperAhead, SuperStable, SuperOnce, SuperUnfenced, SuperOver, SuperOlder,
	SuperCRC, SuperForeign, IndexBoot, IndexBase, IndexBeyond, ReplayShort,
	ReplayUnsettled, CrashUnlocked, RebuildReplay, RebuildLater, RebuildMarker, BeginAgain,
	RecoverBody, RecoverDamage, RecoverFloor, RecoverTorn, RecoverRepair, RecoverNumber,
	RecoverDropped, WorkerLease, WorkerFlush, WorkerStable, WorkerFailed, WorkerPin,
	WorkerIndex, AdoptDropped, PullUnverified, PullEnd, PullLast, PullLock,
	InstalledEarly, StopReaders, BuddyPin, RollVisible,
	WorkerPatience, RollDeaf, RetryNews, LifelessLease,
	TCPTokenTwice, TCPTokenOld, TCPLife, TCPPosition, TCPTag, TCPSum,
	TCPHeader, TCPRewind, TCPWait, TCPResume, TCPDetach, TCPWoken,
	TCPRange,
	IdentTrust, IdentCluster, IdentNode, IdentSelf, IdentOwn, IdentKey,
	IdentSpelling, IdentTwo, CtlVersion, CtlAdmit, CtlGreet, CtlName,
	CtlCluster, CtlTo, CtlFrame, CtlAnswer, CtlHeard, CtlCrowd,
	HelloName, RangeName, PullCut, TCPAsked, TCPAlone, TCPClients,
	TCPSumRanges,
	IndexSum, IndexSumRedo, IndexSumIgnored, UnsureMissing, ColdEmpty, CkptTableSum, CkptTableFirst,
	CkptUnsynced, CkptAhead, CkptHole, CkptNeeds, CkptSlot, CkptStale, CkptReplay, CkptLocks, CkptGone, FreeUnflushed,
	ForcedLiveUntil, ForcedRunning, FailedForgotten, BackoffAtOnce, OlderCounts, BlankEnd, SeenForgotten, WorkerMalformed,
	ProbeUnprovable, DrainOpen, DrainSilent, EndWaits, ResumeEnding,
	CtlFrameVersion, LapseUnawaited, LeaveAll, NextUnpromised, LeadDeclines, LeadKept, GuardFirst,
	H29Mute, H29OldView, H34Gap, JudgeIncoming, AgreeUnasked,
	DigestOverwrite, DigestCursor, DigestRange, DigestTombstone, DigestExtra, DigestBegun, DigestErased,
	CompareOnce, CompareLocked, CompareFenced, CompareVote,
	SuspectGap, SuspectFlaps, SlowOnce, SlowAll, SlowOwn, SlowMinority, SlowWitness, SlowOften, SlowPromoted,

	FaultReader, FaultInside, FaultRejected, FaultBuddy, PoolFinal, PoolAtOnce, IndexStarved, IndexGrowNever, IndexSpins, MendNever, MendUnwritten, MendVotes,
	TCPPeer, TCPInClear, TCPCrowdOne, IdentKept, IdentDropEarly, CtlCrowdOne, CtlAgain, CtlBreak, CtlRefused, CtlRefusedIn, RefusedTrusted,
	HeirUnasked, ShadowAnyLife, DrainedAdmitted, RenewalsPile, RegisterOlder,
	ColdLeft, ViewOfNobody, ColdMute, ForcedInCold, ColdHearsay, ColdKnowing, ForcedLong,
	SeedUncompared, SeedRehashed, RefusedForGood, RefusedProves, RefusedPolls, VoteWaits, FactDropped,
	FlushEarly, FlushLateTail, SuperFlight, FlushNotAwaited, FlushError, FlushJoined, FlushUnwoken, FlushExtended, FlushFolios,
	FlushLandsEarly, FlusherDropsNext, FlusherAbandoned, FlusherLeaves,
	BootstrapAbsent, BootstrapUsed, BootstrapFew, OlderVotes, OlderByAsking, OlderGivenUp, OlderUnflagged, OlderGrants, TurnsForgotten,
	BurstOwnWrite, BurstOvertake, BurstLease, BurstAllocates,
	WideRoom, WideOvertake, WideArm, RespFlying, RespAhead,
	AttendNext, AttendNever, MarksLeft, MarksAfterMail, OfferUnkept,
	PaceGreedy, PaceCatchesUp, PaceUnhurried, PaceDeaf, PaceStrolls, WalkDear, ChoresAtOnce,
	CrowdAlone, CrowdSum,
	CountBusy, SpaceUnlisted, SpaceUnstable, SpaceForgets, SpacePinAhead,
	TombstoneUnstable, TombstoneAway, TombstoneBarrier, TombstoneEpoch, TombstoneOlder, TombstoneUnflushed,
	DamageSplit, DamageHeader, DamageFloor, DamageBeside, DamageMiss, DamageSettle, DamageHide, DamageMoved, DamageGap, DamageDoubt,
	DamageCold, DamageFlag, DamageMarker, DamageBlank, DamageForward, DamageAdopt, DamageForged, DamageScrub, DamageMarkerTrusted,
	SpareLength, CountNever, CtlEarly, KeptTwice, KeptCopied, KeptPassed, RoundNear,
	DoubtRefound, DoubtAlways, DoubtStray, DoubtTorn, DoubtLost, DoubtForgotten, DoubtWaits, DoubtStale, DoubtCut, DoubtLate, DoubtHole, DoubtLives, DoubtOverlaid,
	MendFirst, MendOldest, MendRecovering, MendLocked, MendDamagedIsMissing, MendInFlight, MendBound, MendUnflushed,
}
