package plant

// Of what one write at a time is shortened by.
const (
	MarksLeft   Bug = "marks-beside-a-waiting-entry-left"
	OfferUnkept Bug = "offered-write-not-kept"
)
