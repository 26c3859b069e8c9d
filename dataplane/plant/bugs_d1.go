package plant

// Of the register, of leases and of what the control plane says about them.
const (
	CtlFrameVersion Bug = "control-frames-of-any-version"
)

func init() {
	All = append(All, CtlFrameVersion)
}
