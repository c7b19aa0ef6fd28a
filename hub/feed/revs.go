package feed

// revs is a list of revocations that grows at its end. It grows by pieces, so
// that nothing is copied, however long it is, and nobody waits for that. What
// is in it never changes, so a copy of it stays as it is while it grows.
type revs struct {
	pieces []*[revsPiece]rev
	n      int
}

const revsPiece = 1024

func (l *revs) len() int { return l.n }

func (l *revs) at(i uint32) *rev { return &l.pieces[i/revsPiece][i%revsPiece] }

// add returns the place of what it adds.
func (l *revs) add(r rev) uint32 {
	if l.n == len(l.pieces)*revsPiece {
		l.pieces = append(l.pieces, new([revsPiece]rev))
	}
	i := uint32(l.n)
	l.n++
	*l.at(i) = r
	return i
}

// from yields what is there now from a place on.
func (l *revs) from(first int) func(yield func(uint32, *rev) bool) {
	return func(yield func(uint32, *rev) bool) {
		for i := uint32(first); i < uint32(l.n); i++ {
			if !yield(i, l.at(i)) {
				return
			}
		}
	}
}
