package index

type broken string

const (
	x1    broken = "X1: a word keeps its tag and refers to a record"
	x3    broken = "X3: a store into a page that is split; Reload the cursor after Insert"
	x4    broken = "X4: a block of the directory has one page of its own"
	x7    broken = "X7: a page that was not verified is used; Own or Warm first, Sure before all words"
	xMark broken = "a mark is one of 0 to 7"
	xMend broken = "what a page held fits into it again"
	xPart broken = "a hash belongs to the part its top bits name, before Finish"
)

// assert stays on in every build; the failing side lives out of line.
func assert(ok bool, b broken) {
	if !ok {
		assertFailed(b)
	}
}

//go:noinline
func assertFailed(b broken) { panic("index: broken: " + string(b)) }
