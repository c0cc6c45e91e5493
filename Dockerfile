# One image for every part: `pelton serve bridge`, `pelton serve executor module:name`, …, and the
# nats-server that came with the package. Built in stages, by BuildKit, which makes only those that
# are asked for; what builds stays behind.
#
#   docker build --tag pelton .                     the image
#   docker build --tag pelton-langgraph --build-arg EXTRAS=langgraph .
#                                                   one for agents of an adapter, with what it needs
#   docker build --tag pelton-codex --target program --build-arg PROGRAM=codex .
#                                                   one for agents that are a program of npm's
#   docker build --tag pelton-crewai --target isolated --build-arg FRAMEWORK=crewai .
#                                                   one for a framework with an environment of its own
#   docker build --tag pelton-test --target test .  the same with the tests: docker run pelton-test

ARG PYTHON=python:3.13-slim-bookworm
ARG NODE=node:22-bookworm-slim

FROM ${PYTHON} AS build
# The extras of pelton that are in the image, with spaces between them; without any, all of them.
ARG EXTRAS=
WORKDIR /src
ENV PYTHONDONTWRITEBYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
# Every file that is installed has the hash that the lock says. All extras but claude, which is large.
COPY pyproject.toml requirements.lock requirements-claude.lock ./
RUN if [ -n "${EXTRAS}" ]; then echo "${EXTRAS}"; else \
      sed -n '/^\[project.optional-dependencies\]/,/^$/s/^\([a-z][a-z0-9-]*\) = .*/\1/p' pyproject.toml \
      | grep -vx claude; fi > /tmp/extras
RUN python -m venv --without-pip /opt/pelton \
 && sed -n '/^uv==/,/# via/p' requirements.lock > /tmp/uv.lock \
 && python -m pip install --no-cache-dir --require-hashes -r /tmp/uv.lock \
 && uv pip install --system --require-hashes --group build --constraint requirements.lock \
 && uv pip install --python /opt/pelton/bin/python --compile-bytecode --require-hashes \
      -r pyproject.toml --constraint requirements.lock --constraint requirements-claude.lock \
      $(printf -- '--extra %s ' $(cat /tmp/extras))
COPY README.md LICENSE ./
COPY events events
COPY projections projections
COPY runtime runtime
COPY adapters adapters
RUN python -m hatchling build -t wheel -d /tmp/wheel \
 && uv pip install --python /opt/pelton/bin/python --compile-bytecode --no-deps /tmp/wheel/*.whl \
 && /opt/pelton/bin/python -m pelton.adapters.cli.installed $(cat /tmp/extras)

FROM build AS test
RUN uv pip install --python /opt/pelton/bin/python --require-hashes -r requirements.lock
COPY . .
ENV PATH=/opt/pelton/bin:$PATH
RUN useradd --uid 10001 --create-home pelton && chown -R pelton /src
USER 10001:10001
CMD ["python", "-m", "pytest", "-n", "auto", "-p", "no:cacheprovider"]

# What an agent runs in, whatever it is: each image below is this one with more in it.
FROM ${PYTHON} AS base
COPY --from=build /opt/pelton /opt/pelton
# /data is what a part keeps; all of it can be rebuilt from the log.
RUN groupadd --gid 10001 pelton \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin pelton \
 && install --directory --owner=pelton --group=pelton --mode=0700 /data
ENV PATH=/opt/pelton/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PELTON_DATA=/data
WORKDIR /data
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Whether a bridge lives; the other parts have no listener, and switch this off.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["pelton"]
CMD ["serve", "bridge", "--http", "0.0.0.0:8080"]

FROM ${NODE} AS npm
ARG PROGRAM=
WORKDIR /opt/program
COPY deploy/programs/${PROGRAM} ./
RUN npm ci --ignore-scripts --omit=dev --no-audit --no-fund

FROM base AS program
ARG PROGRAM=
COPY --from=npm /usr/local/bin/node /usr/local/bin/node
COPY --from=npm /opt/program /opt/program
ENV PATH=/opt/program/node_modules/.bin:$PATH
RUN ${PROGRAM} --version

FROM build AS environment
ARG FRAMEWORK=
RUN /opt/pelton/bin/pelton adapters install ${FRAMEWORK} --into /opt/adapters

FROM base AS isolated
ARG FRAMEWORK=
COPY --from=environment /opt/adapters /opt/adapters
ENV PELTON_EXECUTOR_ENVIRONMENTS=/opt/adapters
RUN test -s /opt/adapters/${FRAMEWORK}/pelton.json && /opt/adapters/${FRAMEWORK}/bin/python --version

FROM base AS pelton
