package hub

import "log/slog"

// filesKept is how many open files the hub needs beside those of its
// connections: the log's, its own, those of requests that it makes.
const filesKept = 256

// connectionsWithin lowers the bounds on connections to what a process can hold
// that may open so many files, and says so. Without descriptors the log could
// not be written any more, which would end the hub.
func connectionsWithin(files uint64, most, perAddress int, logger *slog.Logger) (int, int) {
	room := max(1, files/2)
	if files > 2*filesKept {
		room = files - filesKept
	}
	if uint64(most) <= room {
		return most, perAddress
	}
	logger.Warn("this process may open few files, and takes fewer connections than configured: raise its limit (ulimit -n, LimitNOFILE), or lower --max-connections",
		"files", files, "connections", room, "configured", most)
	return int(room), min(perAddress, max(1, int(room)/5*4))
}
