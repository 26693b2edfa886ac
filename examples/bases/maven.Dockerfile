# maven:3.8-eclipse-temurin-17: Debian's JDK and Maven, with Debian's own repository of plugins as Central.
FROM debian:bookworm-slim
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        maven openjdk-17-jdk-headless junit4 \
        libmaven-compiler-plugin-java libmaven-jar-plugin-java libmaven-resources-plugin-java libsurefire-java
COPY maven-settings.xml /etc/maven/settings.xml
CMD ["mvn"]
