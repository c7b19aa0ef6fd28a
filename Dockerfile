# Two images from one build: `--target hub` and `--target demo-resource`.
# Each holds one static program, the roots of TLS, and a directory that its
# user may write to; no shell, nothing to log in to.
FROM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/ ./cmd/hub ./cmd/demo-resource
RUN mkdir -m 0700 /out/data

FROM scratch AS demo-resource
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/demo-resource /demo-resource
USER 65532:65532
WORKDIR /data
ENTRYPOINT ["/demo-resource"]

FROM scratch AS hub
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/hub /hub
USER 65532:65532
WORKDIR /data
ENV REVOCAST_DATA=/data
ENTRYPOINT ["/hub"]
