# syntax=docker/dockerfile:1

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" \
        -o /out/mayfly ./cmd/mayfly \
    && install -d -m 0700 /out/data

# Nothing but the binary: no shell, no packages, no certificates to keep fresh. The program writes
# only below /data, so the rest can be mounted read-only.
FROM scratch
COPY --from=build /out/mayfly /mayfly
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
# There is no /tmp for what SQLite cannot sort in memory.
ENV MAYFLY_DATA_DIR=/data SQLITE_TMPDIR=/data
VOLUME /data
EXPOSE 8443 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s CMD ["/mayfly", "ready"]
ENTRYPOINT ["/mayfly"]
CMD ["serve"]
