package plant

// Of what one write at a time is shortened by.
const (
	MarksAfterMail Bug = "marks-left-in-the-turn-of-a-letter"
	MarksLeft      Bug = "marks-beside-a-waiting-entry-left"
	OfferUnkept    Bug = "offered-write-not-kept"
)
