rule estimate_saliency:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
    output:
        product("estimate_saliency"),
    log:
        log_of("estimate_saliency", "{cue}-{shard}"),
    benchmark:
        bench_of("estimate_saliency", "{cue}-{shard}")
    conda:
        "../envs/wsss.yaml"
    threads: 2
    resources:
        mem_mb=growing(3000),
        runtime=growing(120),
    params:
        settings=settings("estimate_saliency"),
        code=code("estimate_saliency"),
        listing=given_listing("estimate_saliency"),
    message:
        "saliency ({wildcards.cue}) of shard {wildcards.shard}"
    shell:
        "wsss estimate_saliency --index {input.index:q} --shard {input.shard:q} --settings {params.settings:q}"
        " --workers {threads} --output {output:q} --log {log:q}"
