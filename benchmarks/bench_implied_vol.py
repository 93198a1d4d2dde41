from volsurface.bench.iv import main

raise SystemExit(main())
