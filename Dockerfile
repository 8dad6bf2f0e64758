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
ENV MAYFLY_DATA_DIR=/data
VOLUME /data
EXPOSE 8443 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/mayfly"]
CMD ["serve"]
