//#if COLUMNS
//#include attention_tile_narrow
//#else
//#include attention_tile
//#endif
