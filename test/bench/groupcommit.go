package main

import (
	"fmt"
	"math/bits"
	"slices"
)

// batches are the sizes of records: how many requests shared one, and so one
// sync to disk.
type batches []int

// classes are 1, 2 to 3, 4 to 7 and so on; the last one has the rest.
const classes = 9

func classNames() (names []string) {
	for c := range classes {
		switch least := 1 << c; c {
		case 0:
			names = append(names, "1")
		case classes - 1:
			names = append(names, fmt.Sprintf("%d or more", least))
		default:
			names = append(names, fmt.Sprintf("%d to %d", least, 2*least-1))
		}
	}
	return names
}

// row is the part of the records that is in each class, in percent.
func (b batches) row() (row []string) {
	var found [classes]int
	for _, size := range b {
		found[min(bits.Len(uint(size)), classes)-1]++
	}
	for _, n := range found {
		if n == 0 {
			row = append(row, "")
		} else {
			row = append(row, figure(100*float64(n)/float64(len(b))))
		}
	}
	return row
}

func (b batches) String() string {
	sorted := slices.Sorted(slices.Values(b))
	return fmt.Sprintf("median %d, most %d", sorted[len(sorted)/2], sorted[len(sorted)-1])
}
