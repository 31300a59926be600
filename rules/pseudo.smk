rule make_seeds:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
        fused=product("fuse_regions"),
        saliency=lambda w: of_shard(GRAPH.seed_saliency(w.method), w),
    output:
        product("make_seeds"),
    log:
        log_of("make_seeds", "{method}-{shard}"),
    benchmark:
        bench_of("make_seeds", "{method}-{shard}")
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=settings("make_seeds"),
        code=code("make_seeds"),
    message:
        "seed masks of {wildcards.method}, shard {wildcards.shard}"
    shell:
        "wsss make_seeds --index {input.index:q} --shard {input.shard:q} --fused {input.fused:q}"
        " --saliency {input.saliency:q} --settings {params.settings:q} --output {output:q} --log {log:q}"


rule refine_masks:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
        masks=lambda w: of_shard(GRAPH.unrefined(w.method, w.variant, int(w.cycle)), w),
    output:
        product("refine_masks"),
    log:
        log_of("refine_masks", "{method}-{variant}-cycle-{cycle}-{shard}"),
    benchmark:
        bench_of("refine_masks", "{method}-{variant}-cycle-{cycle}-{shard}")
    conda:
        "../envs/wsss.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        settings=settings("refine_masks"),
        code=code("refine_masks"),
    message:
        "pseudo masks of {wildcards.method} for {wildcards.variant}, cycle {wildcards.cycle}, shard {wildcards.shard}"
    shell:
        "wsss refine_masks --index {input.index:q} --shard {input.shard:q} --masks {input.masks:q}"
        " --settings {params.settings:q} --workers {threads} --output {output:q} --log {log:q}"
