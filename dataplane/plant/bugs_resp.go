package plant

// Of sessions that serve many clients, and of the front end on top of them.
const (
	WideRoom     Bug = "wide-session-shares-its-room"
	WideOvertake Bug = "get-now-overtakes-the-own-write"
	WideArm      Bug = "arm-without-a-second-look"
	RespFlying   Bug = "op-in-flight-reused-with-its-connection"
	RespAhead    Bug = "reply-before-an-older-one"
)
