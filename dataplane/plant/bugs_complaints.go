package plant

// Of complaints about members that stand still (H29, H34, H35).
const (
	ProbeUnprovable Bug = "probe-for-a-death-nobody-can-prove"
	H29Mute         Bug = "H29-complaint-never-made"
	H29OldView      Bug = "H29-complaint-kept-over-a-view"
	H34Gap          Bug = "H34-standstill-timed-over-the-own-one"
	JudgeIncoming   Bug = "judged-by-incoming-complaints-only"
	AgreeUnasked    Bug = "acceptor-agrees-without-its-own-judgement"
)
